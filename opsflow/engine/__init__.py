"""Recipes to pyinfra operations to one verified script to SSH to results."""
