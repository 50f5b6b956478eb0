"""`neo ...`: parse, build one request, make one call, print. Only this package prints."""
