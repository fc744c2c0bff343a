"""Requests to a service and its replies, over HTTP."""
