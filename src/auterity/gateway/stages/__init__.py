"""The stages of a call, one file each: glue between the exchange and the logic that lives below."""
