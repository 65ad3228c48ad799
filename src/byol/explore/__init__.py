"""What an encoder learned: embeddings, nearest images, findings in the data, a map, and the page that shows them."""
