"""The HTTP interface: one noun a file, every route declared once in its endpoint (which is also its documentation)."""
