"""What the built-in scorer is made of: task files and metrics. Imports neither torch nor transformers."""
