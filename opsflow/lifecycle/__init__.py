"""Events, instance states, run lists, who an event reaches, coalescing: pure functions."""
