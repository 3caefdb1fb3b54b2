"""Files: resumable uploads, checks, thumbnails, storage, authorised downloads; previews of links."""
