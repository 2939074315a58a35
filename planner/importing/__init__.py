"""From a booking system's export to booking events: the mapping and what it makes of a row.

Pure: files are read in ``streams.importer``.
"""
