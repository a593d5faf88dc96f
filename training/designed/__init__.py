"""The table from which a designed voice is fitted to a recording: rendered, fitted and judged."""
