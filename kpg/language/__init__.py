"""Text as a task: tokenizers, pretrained models, rewards and prompts."""
