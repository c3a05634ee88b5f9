"""What people use: the command line, reports and maps."""
