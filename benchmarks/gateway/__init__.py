"""The gateway against nginx and its peers: requests per second, latency, CPU per request and memory."""
