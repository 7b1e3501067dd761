-- Whose file this is (blobforge/store/sqlite/belonging.py): "BlbF".
PRAGMA application_id=1114399302;
