"""Aerial pixels that know where they are, and street photos with what their files say of themselves."""
