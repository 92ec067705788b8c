# Dalli against a server, as applications use it: dalli_test.rb SERVER PROTOCOL, where SERVER is HOST:PORT or a path and PROTOCOL binary or meta.
# Prints TAP.
require 'dalli'

server, protocol = ARGV
options = { socket_timeout: 2, down_retry_delay: 0, socket_failure_delay: nil, socket_max_failures: 0 }
options[:protocol] = :meta if protocol == 'meta'
client = Dalli::Client.new(server, options)
checks = {
  'set and get' => -> { client.set('a', { 'b' => [1, 2] }) && client.get('a') == { 'b' => [1, 2] } },
  'a miss' => -> { client.get('none').nil? },
  'a value of 500 KB' => -> { client.set('large', 'v' * 500_000, 60, raw: true) && client.get('large').bytesize == 500_000 },
  'time to live' => -> { client.set('ttl', 'x', 100) && client.touch('ttl', 200) && client.gat('ttl', 300) == 'x' },
  'add and replace' => -> { client.delete('n'); client.add('n', 1) && !client.add('n', 2) && client.replace('n', 3) && client.get('n') == 3 },
  'delete' => -> { client.set('d', 1); client.delete('d') && client.get('d').nil? },
  'append and prepend' => -> { client.set('j', 'b', 0, raw: true); client.append('j', 'c'); client.prepend('j', 'a'); client.get('j') == 'abc' },
  'incr and decr' => -> { client.delete('c'); client.incr('c', 1, 0, 40) == 40 && client.incr('c', 5) == 45 && client.decr('c', 3) == 42 },
  'many keys' => -> { 100.times { |i| client.set("m#{i}", i) }; client.get_multi((0..120).map { |i| "m#{i}" }).size == 100 },
  'quiet' => -> { client.multi { 100.times { |i| client.set("q#{i}", i) } }; client.get('q99') == 99 },
  'cas' => -> { client.set('s', 1); client.cas('s') { |value| value + 1 } && client.get('s') == 2 },
  'fetch' => -> { client.delete('f'); client.fetch('f') { 7 } == 7 && client.get('f') == 7 },
  'version' => -> { client.version.values.all? { |version| version =~ /\A\d+\.\d+\.\d+/ } },
  'stats' => -> { client.stats.values.all? { |stats| stats['curr_items'].to_i > 0 } },
  'flush' => -> { client.flush.all? && client.get('a').nil? },
}
puts "1..#{checks.size}"
checks.each_with_index do |(name, check), at|
  passed, why = begin
    [check.call, 'wrong']
  rescue StandardError => e
    [false, "#{e.class}: #{e.message}".lines.first.to_s.strip]
  end
  puts passed ? "ok #{at + 1} - #{name}" : "not ok #{at + 1} - #{name}: #{why}"
end
