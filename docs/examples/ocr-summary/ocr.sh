#!/bin/sh
# A stand-in for OCR: it reads the text that a PDF has. For scans: tesseract "$1" "${2%.txt}" (which adds .txt by itself).
exec pdftotext -layout "$1" "$2"
