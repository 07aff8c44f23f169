"""The outside world behind interfaces."""
