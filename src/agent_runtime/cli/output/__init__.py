"""What commands show: numbers, tables, questions, what a job does and has done."""
