"""From strings to tokens and back."""
