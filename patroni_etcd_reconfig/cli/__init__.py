"""Thin click commands, one error boundary, renderers."""
