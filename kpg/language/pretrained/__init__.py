"""Language models: from presets, from GGUF files, or small and new."""
