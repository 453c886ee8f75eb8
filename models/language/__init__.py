"""Language models as policies and critics, and how they are sampled from."""
