"""Around the training in `scripts/distil_demo`: photographs are cut up, and the model is kept."""
