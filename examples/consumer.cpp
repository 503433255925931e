// Print the features of one camera as they arrive: all that a policy in C++ needs.
// Depends on rclcpp and theia_msgs.

#include <cmath>
#include <memory>
#include <string>

#include "rclcpp/rclcpp.hpp"
#include "theia_msgs/msg/feature_tensor.hpp"

using theia_msgs::msg::FeatureTensor;

class Consumer : public rclcpp::Node
{
public:
  Consumer()
  : Node("consumer")
  {
    const auto topic = declare_parameter<std::string>("topic", "/theia/camera/features");
    trained_with_ = declare_parameter<std::string>("trained_with", "");  // EncoderInfo.digest
    subscription_ = create_subscription<FeatureTensor>(
      topic, 1, [this] (FeatureTensor::ConstSharedPtr msg) {act(*msg);});
  }

private:
  void act(const FeatureTensor & msg)
  {
    if (!trained_with_.empty() && msg.provenance != trained_with_) {
      RCLCPP_ERROR(get_logger(), "refused: provenance is %s", msg.provenance.c_str());
      return;
    }
    if (msg.dtype != FeatureTensor::FLOAT32 || msg.shape.size() != 2 ||
      msg.data.size() != sizeof(float) * msg.shape[0] * msg.shape[1])
    {
      RCLCPP_ERROR(get_logger(), "refused: expected [tokens, channels] of float32");
      return;
    }
    // Token by token, row by row over the image; little endian, as all that ROS 2 runs on.
    const auto * numbers = reinterpret_cast<const float *>(msg.data.data());
    double sum = 0.0;
    for (size_t i = 0; i < size_t{msg.shape[0]} * msg.shape[1]; ++i) {
      sum += numbers[i] * numbers[i];
    }
    RCLCPP_INFO(
      get_logger(), "%s %u x %u, norm %.1f, of %d.%09u", msg.name.c_str(), msg.shape[0],
      msg.shape[1], std::sqrt(sum), msg.header.stamp.sec, msg.header.stamp.nanosec);
  }

  std::string trained_with_;
  rclcpp::Subscription<FeatureTensor>::SharedPtr subscription_;
};

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  rclcpp::spin(std::make_shared<Consumer>());
  rclcpp::shutdown();
}
