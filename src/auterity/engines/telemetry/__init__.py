"""What the program tells about itself: metrics, logs and traces."""
