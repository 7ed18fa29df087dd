"""Arrow batches as Singer messages: RECORD lines or Arrow files."""
