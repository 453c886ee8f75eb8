"""What both ends of a connection share: tensors, names, errors."""
