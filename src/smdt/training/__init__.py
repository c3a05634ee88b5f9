"""Training: one file for each thing that can be trained."""
