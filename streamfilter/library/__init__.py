"""The filter for notebooks and programs: no broker, arrays and values in and out."""
