"""Columns of projects: chunks from the tables of the engine, and files made of rows."""
