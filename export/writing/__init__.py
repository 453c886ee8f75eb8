"""From a policy to a verified SavedModel."""
