"""The composition root and the processes: settings, server, worker, command line."""
