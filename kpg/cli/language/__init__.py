"""Text tasks on the command line: `text:NAME`."""
