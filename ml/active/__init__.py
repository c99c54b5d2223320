"""Which images a reviewer should see next, as functions over probabilities and embeddings."""
