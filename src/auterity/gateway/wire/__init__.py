"""The wires that clients speak: how a request is read and how answers, errors and headers are written."""
