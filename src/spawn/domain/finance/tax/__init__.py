"""Corporate income tax of a project: depreciation, losses carried forward, deductible interest."""
