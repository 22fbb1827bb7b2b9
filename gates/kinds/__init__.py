"""The gates, one file each: what may be asked, what it needs of every document, how it is judged, how it reads."""
