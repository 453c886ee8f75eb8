"""One exported version, loaded the way TensorFlow Serving loads it."""
