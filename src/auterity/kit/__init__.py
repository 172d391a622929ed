"""The ground floor: ids, money, time, errors and the like. Pure; no I/O."""
