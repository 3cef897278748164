// SPDX-License-Identifier: BSD-2-Clause
// Check server DIRECTORY | client WEB NIO OLD ROUNDS: the client checks every answer and prints {"answers": N, "bytes": N}.

import com.sun.net.httpserver.HttpServer;
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;

public class Check {
	static byte[] bytes(long seed, int size) {
		byte[] out = new byte[size];
		new Random(seed).nextBytes(out);
		return out;
	}

	static void want(boolean fact, String what) {
		if (!fact)
			throw new AssertionError(what);
	}

	// ---- servers ---------------------------------------------------------------------------------------------------
	// One thread, a selector, buffers smaller than what comes: short reads and writes all the time.
	static void echo(ServerSocketChannel listener) throws IOException {
		Selector selector = Selector.open();
		listener.configureBlocking(false);
		listener.register(selector, SelectionKey.OP_ACCEPT);
		for (;;) {
			selector.select();
			for (Iterator<SelectionKey> keys = selector.selectedKeys().iterator(); keys.hasNext();) {
				SelectionKey key = keys.next();
				keys.remove();
				if (key.isAcceptable()) {
					SocketChannel channel = listener.accept();
					channel.configureBlocking(false);
					channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(9000));
					continue;
				}
				SocketChannel channel = (SocketChannel) key.channel();
				ByteBuffer buffer = (ByteBuffer) key.attachment();
				try {
					int read = channel.read(buffer);
					buffer.flip();
					channel.write(buffer);
					buffer.compact();
					if (read < 0 && buffer.position() == 0)
						channel.close();
					else
						key.interestOps((read >= 0 && buffer.hasRemaining() ? SelectionKey.OP_READ : 0) |
								(buffer.position() > 0 ? SelectionKey.OP_WRITE : 0));
				} catch (IOException error) {
					channel.close();
				}
			}
		}
	}

	// A thread a connection: what available() says is read, objects are answered, "reset" ends in RST.
	static void old(Socket socket) {
		try (socket) {
			DataInputStream in = new DataInputStream(socket.getInputStream());
			DataOutputStream out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
			for (;;) {
				int size = in.readInt();
				if (size < 0) {
					socket.setSoLinger(true, 0);
					return;
				}
				byte[] data = new byte[size];
				for (int done = 0; done < size;) {
					int available = in.available();
					int got = available > 0 ? in.read(data, done, Math.min(available, size - done)) : in.read(data, done, 1);
					if (available > 0)
						want(got == Math.min(available, size - done), "available() said " + available + ", read " + got);
					done += got;
				}
				ByteArrayOutputStream object = new ByteArrayOutputStream();
				new ObjectOutputStream(object).writeObject(new ArrayList<>(List.of("size", size, data)));
				out.writeInt(object.size());
				object.writeTo(out);
				out.flush();
			}
		} catch (EOFException end) {
			// the client is done
		} catch (IOException error) {
			error.printStackTrace();
		}
	}

	static void thread(Callable run) {
		Thread thread = new Thread(() -> {
			try {
				run.call();
			} catch (Exception error) {
				error.printStackTrace();
			}
		});
		thread.setDaemon(true);
		thread.start();
	}

	interface Callable {
		void call() throws Exception;
	}

	static void server(String directory) throws Exception {
		InetAddress here = InetAddress.getByName("127.0.0.1");
		HttpServer web = HttpServer.create(new InetSocketAddress(here, 0), 50);
		web.createContext("/", exchange -> {
			byte[] body = exchange.getRequestBody().readAllBytes();
			if (body.length == 0)
				body = bytes(5, Integer.parseInt(exchange.getRequestURI().getPath().substring(1)));
			exchange.sendResponseHeaders(200, body.length);
			exchange.getResponseBody().write(body);
			exchange.close();
		});
		web.start();
		ServerSocketChannel nio = ServerSocketChannel.open().bind(new InetSocketAddress(here, 0));
		ServerSocket listener = new ServerSocket(0, 50, here);
		// A file by transferTo on a blocking channel, the whole and then the end of the connection.
		Path file = Path.of(directory, "file");
		Files.write(file, bytes(9, 3_000_001));
		ServerSocketChannel files = ServerSocketChannel.open().bind(new InetSocketAddress(here, 0));
		System.out.println("ports " + web.getAddress().getPort() + " " + nio.socket().getLocalPort() + " " + listener.getLocalPort() + " " +
				   files.socket().getLocalPort());
		thread(() -> echo(nio));
		thread(() -> {
			for (;;) {
				Socket socket = listener.accept();
				thread(() -> old(socket));
			}
		});
		for (;;) {
			try (SocketChannel channel = files.accept(); FileChannel source = FileChannel.open(file)) {
				for (long at = 0; at < source.size();)
					at += source.transferTo(at, source.size() - at, channel);
			}
		}
	}

	// ---- client ----------------------------------------------------------------------------------------------------
	static long answers, total;

	static void count(long bytes) {
		answers++;
		total += bytes;
	}

	static void askWeb(HttpClient client, int port, int size) throws Exception {
		URI address = URI.create("http://127.0.0.1:" + port + "/" + size);
		byte[] got = client.send(HttpRequest.newBuilder(address).build(), HttpResponse.BodyHandlers.ofByteArray()).body();
		want(Arrays.equals(got, bytes(5, size)), "GET " + size + ": " + got.length);
		byte[] sent = bytes(size, size + 1);
		got = client.send(HttpRequest.newBuilder(address).POST(HttpRequest.BodyPublishers.ofByteArray(sent)).build(),
				  HttpResponse.BodyHandlers.ofByteArray()).body();
		want(Arrays.equals(got, sent), "POST " + size + ": " + got.length);
		count(3L * size);
	}

	// Non-blocking connect and duplex traffic on one channel of a selector, then half-close.
	static void askNio(int port, int size) throws Exception {
		ByteBuffer out = ByteBuffer.wrap(bytes(port, size)), in = ByteBuffer.allocate(size + 1);
		Selector selector = Selector.open();
		try (SocketChannel channel = SocketChannel.open()) {
			channel.configureBlocking(false);
			if (!channel.connect(new InetSocketAddress("127.0.0.1", port))) {
				channel.register(selector, SelectionKey.OP_CONNECT);
				selector.select(20000);
				want(channel.finishConnect(), "connect");
			}
			SelectionKey key = channel.register(selector, SelectionKey.OP_READ | SelectionKey.OP_WRITE);
			boolean open = true;
			while (open) {
				want(selector.select(20000) > 0, "nothing within 20 s: sent " + out.position() + ", received " + in.position());
				selector.selectedKeys().clear();
				if (key.isReadable())
					open = channel.read(in) >= 0;
				if (open && key.isWritable()) {
					channel.write(out);
					if (!out.hasRemaining()) {
						channel.shutdownOutput();
						key.interestOps(SelectionKey.OP_READ);
					}
				}
			}
		}
		want(in.position() == size && Arrays.equals(out.array(), Arrays.copyOf(in.array(), size)), "NIO " + size + ": " + in.position());
		count(2L * size);
	}

	static void askOld(int port, int rounds) throws Exception {
		try (Socket socket = new Socket("127.0.0.1", port)) {
			socket.setTcpNoDelay(true);
			socket.setSoTimeout(20000);
			DataInputStream in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
			DataOutputStream out = new DataOutputStream(socket.getOutputStream());
			for (int round = 0; round < rounds; round++) {
				byte[] data = bytes(round, 1 << (round % 18));
				out.writeInt(data.length);
				out.write(data);
				byte[] object = in.readNBytes(in.readInt());
				List<?> list = (List<?>) new ObjectInputStream(new ByteArrayInputStream(object)).readObject();
				want(Arrays.equals((byte[]) list.get(2), data), "object " + round);
				count(2L * data.length);
			}
			out.writeInt(-1);
			try {
				want(in.read() == -2, "end of file instead of a reset");
			} catch (SocketException reset) {
				count(0);
			}
		}
	}

	static void askFile(int port) throws Exception {
		try (Socket socket = new Socket("127.0.0.1", port)) {
			byte[] got = socket.getInputStream().readAllBytes();
			want(Arrays.equals(got, bytes(9, 3_000_001)), "file: " + got.length);
			count(got.length);
		}
	}

	public static void main(String[] words) throws Exception {
		if (words[0].equals("server")) {
			server(words[1]);
			return;
		}
		HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
		int rounds = Integer.parseInt(words[5]);
		for (int round = 0; round < rounds; round++) {
			for (int size : new int[] {1, 1000, 16384, 100_003, 700_000})
				askWeb(client, Integer.parseInt(words[1]), size);
			for (int size : new int[] {1, 8999, 9001, 400_000})
				askNio(Integer.parseInt(words[2]), size);
			askFile(Integer.parseInt(words[4]));
		}
		askOld(Integer.parseInt(words[3]), 10 * rounds);
		System.out.println("{\"answers\": " + answers + ", \"bytes\": " + total + "}");
	}
}
