"""Rows in and tables out."""
