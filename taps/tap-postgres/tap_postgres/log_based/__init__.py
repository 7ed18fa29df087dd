"""LOG_BASED: changes by logical replication, through the plug-in pgoutput, which every server has."""
