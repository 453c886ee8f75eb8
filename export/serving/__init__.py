"""A server that speaks TensorFlow Serving's protocol."""
