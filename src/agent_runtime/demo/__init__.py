"""The demonstration: an agent audits the licences of the Python packages that are installed."""
