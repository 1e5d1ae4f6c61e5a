module rekindle.invalid/reference-pion

go 1.19
