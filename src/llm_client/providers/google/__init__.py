"""Google's generateContent API, of Gemini and Vertex."""
