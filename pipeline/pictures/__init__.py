"""Single pictures: noise put on them, or taken off."""
