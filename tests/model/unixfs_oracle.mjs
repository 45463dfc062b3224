// Names blobs as the IPFS project's own importer does; the vectors of test_model_unixfs.py were made with it:
//   npm install ipfs-unixfs-importer@17.1.1 blockstore-core@7 && node unixfs_oracle.mjs SIZE...
// A blob of SIZE bytes is the beginning of SHAKE256("icn-lite unixfs").
import { createHash } from 'node:crypto'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { MemoryBlockstore } from 'blockstore-core/memory'

for (const size of process.argv.slice(2).map(Number)) {
  const data = size ? createHash('shake256', { outputLength: size }).update('icn-lite unixfs').digest() : Buffer.alloc(0)
  const options = {
    cidVersion: 1, rawLeaves: true, reduceSingleLeafToSelf: true, wrapWithDirectory: false,
    chunker: fixedSize({ chunkSize: 262144 }), layout: balanced({ maxChildrenPerNode: 174 })
  }
  for await (const entry of importer([{ content: data }], new MemoryBlockstore(), options)) {
    console.log(`    (${size}, "${entry.cid}"),`)
  }
}
