"""What there is to choose from, and weights that others published."""
