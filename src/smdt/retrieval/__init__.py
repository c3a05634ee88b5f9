"""Stage 4: descriptors of ground photos and aerial tiles, and how they are matched and scored."""
