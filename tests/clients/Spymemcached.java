// spymemcached against a server, as applications use it: java -cp spymemcached.jar Spymemcached.java HOST PORT. In text, which is its default.
// Prints TAP.

import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.CASResponse;
import net.spy.memcached.MemcachedClient;

public class Spymemcached {
    private static int count;

    public static void main(String[] words) throws Exception {
        java.util.logging.Logger.getLogger("net.spy").setLevel(java.util.logging.Level.OFF);
        MemcachedClient client = new MemcachedClient(new InetSocketAddress(words[0], Integer.parseInt(words[1])));
        check("set and get", () -> client.set("a", 0, "value").get() && client.get("a").equals("value"));
        check("a miss", () -> client.get("none") == null);
        check("a value of 500 KB", () -> client.set("large", 60, new byte[500_000]).get() && ((byte[]) client.get("large")).length == 500_000);
        check("add and replace", () -> {
            client.delete("n").get();
            return client.add("n", 0, 1).get() && !client.add("n", 0, 2).get() && client.replace("n", 0, 3).get() && client.get("n").equals(3);
        });
        check("delete", () -> client.delete("n").get() && !client.delete("n").get());
        check("append and prepend", () -> {
            client.set("j", 0, "b").get();
            return client.append(0, "j", "c").get() && client.prepend(0, "j", "a").get() && client.get("j").equals("abc");
        });
        check("incr and decr", () -> {
            client.set("c", 0, "40").get();
            return client.incr("c", 5) == 45 && client.decr("c", 3) == 42;
        });
        check("touch", () -> client.touch("a", 100).get() && !client.touch("none", 100).get());
        check("cas", () -> {
            long cas = client.gets("a").getCas();
            return client.cas("a", cas, "next") == CASResponse.OK && client.cas("a", cas, "late") == CASResponse.EXISTS;
        });
        check("many keys", () -> {
            List<String> keys = new ArrayList<>();
            for (int at = 0; at < 100; at++) {
                client.set("m" + at, 0, at);
                keys.add("m" + at);
            }
            client.waitForQueues(10, TimeUnit.SECONDS);
            Map<String, Object> found = client.getBulk(keys);
            return found.size() == 100 && found.get("m99").equals(99);
        });
        check("versions", () -> client.getVersions().values().stream().allMatch(version -> version.matches("\\d+\\.\\d+\\.\\d+.*")));
        check("stats", () -> client.getStats().values().stream().allMatch(stats -> Long.parseLong(stats.get("curr_items")) > 0));
        check("flush", () -> client.flush().get() && client.get("a") == null);
        System.out.println("1.." + count);
        client.shutdown();
        System.exit(0);
    }

    private static void check(String name, Callable<Boolean> check) {
        count++;
        String why = "wrong";
        boolean passed = false;
        try {
            passed = check.call();
        } catch (Exception error) {
            why = error.toString();
        }
        System.out.println((passed ? "ok " : "not ok ") + count + " - " + name + (passed ? "" : ": " + why));
    }
}
