/** The same on the stock kernel of the VM. */
import '../netns/nftables.test.ts';
import '../netns/nftables-random.test.ts';
import '../netns/nftables-packets.test.ts';
import '../netns/nftables-transactions.test.ts';
import '../netns/nftables-watch.test.ts';
