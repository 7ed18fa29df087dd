"""tap-mssql: a Singer tap for Microsoft SQL Server."""
